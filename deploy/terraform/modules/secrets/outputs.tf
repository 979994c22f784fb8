output "ids" {
  description = "Full names of the secrets, projects/PROJECT/secrets/NAME, by their short ones."
  value       = { for name, secret in google_secret_manager_secret.this : name => secret.id }
}
