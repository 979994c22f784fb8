output "emails" {
  description = "Addresses of the accounts, by their short names."
  value       = { for name, account in google_service_account.this : name => account.email }
}

output "members" {
  description = "The accounts as IAM members, by their short names."
  value       = { for name, account in google_service_account.this : name => account.member }
}

output "ids" {
  description = "Full names of the accounts, projects/PROJECT/serviceAccounts/ADDRESS."
  value       = { for name, account in google_service_account.this : name => account.id }
}

output "github_provider" {
  description = "Full name of the provider that GitHub's workflows sign in with."
  value       = google_iam_workload_identity_pool_provider.github.name
}
