# Secrets as containers: people put the values in, so that none is in a file or in the state.

resource "google_secret_manager_secret" "this" {
  for_each = var.secrets

  secret_id           = each.key
  deletion_protection = var.deletion_protection

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

locals {
  accesses = merge([
    for secret, members in var.secrets : {
      for name, member in members : "${secret}/${name}" => { secret = secret, member = member }
    }
  ]...)
}

resource "google_secret_manager_secret_iam_member" "accessors" {
  for_each = local.accesses

  secret_id = google_secret_manager_secret.this[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}
