output "network" {
  description = "The network, once it is peered."
  value       = google_service_networking_connection.this.network
}
