locals {
  address = "${var.region}-docker.pkg.dev/${var.project}"
}

output "images" {
  description = "Address of the repository of images."
  value       = "${local.address}/${google_artifact_registry_repository.images.repository_id}"
}

output "cache" {
  description = "Address of the repository of cached layers."
  value       = "${local.address}/${google_artifact_registry_repository.cache.repository_id}"
}
