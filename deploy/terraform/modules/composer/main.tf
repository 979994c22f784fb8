# A small Cloud Composer 3 environment: Airflow, which runs the pipeline's tasks in pods.

locals {
  # Of what Composer 3 makes: see deploy/airflow/README.md.
  settings = {
    tasks  = "pods"
    policy = var.policy
    pods = {
      namespace            = "composer-user-workloads"
      config_file          = "/home/airflow/composer_kube_config"
      kubernetes_conn_id   = "kubernetes_default"
      service_account_name = "default"
    }
  }
}

# The DAG and its plan, and those of earlier commits; Composer's own folders beside them.
resource "google_storage_bucket" "this" {
  name                        = var.bucket
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = true
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  logging {
    log_bucket        = var.logs
    log_object_prefix = "access/airflow"
  }
}

resource "google_storage_bucket_iam_member" "deployers" {
  for_each = var.deployers

  bucket = google_storage_bucket.this.name
  role   = "roles/storage.objectUser"
  member = each.value
}

resource "google_composer_environment" "this" {
  name   = "${var.name}-airflow"
  region = var.region

  storage_config {
    bucket = google_storage_bucket.this.name
  }

  config {
    environment_size = "ENVIRONMENT_SIZE_SMALL"

    node_config {
      service_account = var.account_email
      network         = var.subnetwork == null ? null : var.network
      subnetwork      = var.subnetwork
    }

    software_config {
      image_version = var.image_version

      # The Variable `pipeline`, which the DAG reads.
      env_variables = {
        AIRFLOW_VAR_PIPELINE = jsonencode(local.settings)
      }
    }
  }
}
