# Where images lie: those that are deployed, and the layers that builds reuse.

resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:encrypted with Google's keys; a key of one's own would have to be run
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  description   = "Images of ${var.name}, tagged by commit and deployed by digest."

  docker_config {
    immutable_tags = var.immutable_tags
  }

  # Builds scan what they push, and each night what is deployed. Google's scan costs for each image.
  vulnerability_scanning_config {
    enablement_config = "DISABLED"
  }

  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"

    condition {
      tag_state  = "UNTAGGED"
      older_than = "7d"
    }
  }

  # A tag that is immutable keeps its image: no policy may delete it.
  dynamic "cleanup_policies" {
    for_each = var.immutable_tags ? [] : ["delete-old"]

    content {
      id     = cleanup_policies.value
      action = "DELETE"

      condition {
        tag_state  = "TAGGED"
        older_than = "${var.keep_days}d"
      }
    }
  }

  dynamic "cleanup_policies" {
    for_each = var.immutable_tags ? [] : ["keep-newest"]

    content {
      id     = cleanup_policies.value
      action = "KEEP"

      most_recent_versions {
        keep_count = 20
      }
    }
  }
}

# A cache is written under one tag again and again, which a repository of immutable tags refuses.
resource "google_artifact_registry_repository" "cache" {
  #checkov:skip=CKV_GCP_84:encrypted with Google's keys; a key of one's own would have to be run
  repository_id = "${var.name}-cache"
  location      = var.region
  format        = "DOCKER"
  description   = "Layers that the builds of ${var.name} reuse."

  vulnerability_scanning_config {
    enablement_config = "DISABLED"
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      tag_state  = "ANY"
      older_than = "14d"
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "image_writers" {
  for_each = var.writers

  repository = google_artifact_registry_repository.images.repository_id
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = each.value
}

resource "google_artifact_registry_repository_iam_member" "image_readers" {
  for_each = var.readers

  repository = google_artifact_registry_repository.images.repository_id
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

resource "google_artifact_registry_repository_iam_member" "cache_writers" {
  for_each = var.writers

  repository = google_artifact_registry_repository.cache.repository_id
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = each.value
}
