"""What this project costs, measured: each module here is a program that prints one table."""
