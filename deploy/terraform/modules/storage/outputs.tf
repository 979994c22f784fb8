output "data" {
  description = "Name of the bucket of the data."
  value       = google_storage_bucket.this["data"].name
}

output "root" {
  description = "Name of the bucket of the pipeline's root."
  value       = google_storage_bucket.this["root"].name
}

output "serving" {
  description = "Name of the bucket of the models that are served."
  value       = google_storage_bucket.this["serving"].name
}

output "logs" {
  description = "Name of the bucket of the logs and of what builds leave behind."
  value       = google_storage_bucket.logs.name
}
