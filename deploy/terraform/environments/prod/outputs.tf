output "substitutions" {
  description = "What the triggers tell each cloudbuild file."
  value       = module.platform.substitutions
}

output "images" {
  description = "Address of the repository of images."
  value       = module.platform.images
}

output "cache" {
  description = "Address of the repository of cached layers."
  value       = module.platform.cache
}

output "buckets" {
  description = "Names of the buckets: of the data, the root, the models that are served, the logs."
  value       = module.platform.buckets
}

output "accounts" {
  description = "Addresses of the service accounts, by what they do."
  value       = module.platform.accounts
}

output "github_provider" {
  description = "What GitHub's workflows sign in with, as workload_identity_provider."
  value       = module.platform.github_provider
}

output "store_url" {
  description = "For store.url of the configuration; null without a store here."
  value       = module.platform.store_url
}

output "airflow" {
  description = "The address of Airflow's pages, and the folder of its DAGs; null without Composer."
  value       = module.platform.airflow
}

output "triggers" {
  description = "Full names of the triggers, by what starts them."
  value       = module.platform.triggers
}

output "new_data_topic" {
  description = "The topic to which new data may be announced; null without that trigger."
  value       = module.platform.new_data_topic
}
