# The network's peering with Google's services, by which it reaches Cloud SQL, and builds reach it.

resource "google_compute_global_address" "this" {
  name          = "${var.name}-services"
  network       = var.network
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "this" {
  network                 = var.network
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.this.name]
  # Whoever else uses the peering goes on.
  deletion_policy = "ABANDON"
}
