output "substitutions" {
  description = "What the triggers tell each cloudbuild file."
  value       = local.substitutions
}

output "images" {
  description = "Address of the repository of images."
  value       = module.registry.images
}

output "cache" {
  description = "Address of the repository of cached layers."
  value       = module.registry.cache
}

output "buckets" {
  description = "Names of the buckets: of the data, the root, the models that are served, the logs."
  value = {
    data    = module.storage.data
    root    = module.storage.root
    serving = module.storage.serving
    logs    = module.storage.logs
  }
}

output "accounts" {
  description = "Addresses of the service accounts, by what they do."
  value       = module.identities.emails
}

output "github_provider" {
  description = "What GitHub's workflows sign in with, as workload_identity_provider."
  value       = module.identities.github_provider
}

output "store_url" {
  description = "For store.url of the configuration; null without a store here."
  value       = one(module.store[*].url)
}

output "airflow" {
  description = "The address of Airflow's pages, and the folder of its DAGs; null without Composer."
  value       = one(module.composer[*].airflow)
}

output "triggers" {
  description = "Full names of the triggers, by what starts them."
  value       = module.builds.trigger_ids
}

output "new_data_topic" {
  description = "The topic to which new data may be announced; null without that trigger."
  value       = one(module.events[*].topic)
}
