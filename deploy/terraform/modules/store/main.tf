# A PostgreSQL of Cloud SQL for the metadata store, with a private address alone.

resource "google_sql_database_instance" "this" {
  #checkov:skip=CKV_GCP_6:ML Metadata's client speaks no TLS with PostgreSQL; see docs/kubeflow.md
  #checkov:skip=CKV_GCP_79:15 is the version that the pipeline was tried with
  #checkov:skip=CKV_GCP_108:a name for each address would have to be looked up on each connection
  #checkov:skip=CKV_GCP_110:one program is its only user, and keeps in it what was done when
  #checkov:skip=CKV2_GCP_13:thousands of short statements a run
  name                = "${var.name}-metadata"
  region              = var.region
  database_version    = "POSTGRES_15"
  deletion_protection = var.deletion_protection

  settings {
    edition                     = "ENTERPRISE"
    tier                        = var.tier
    availability_type           = var.high_availability ? "REGIONAL" : "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = 10
    disk_autoresize             = true
    deletion_protection_enabled = var.deletion_protection

    ip_configuration {
      ipv4_enabled                                  = false
      private_network                               = var.network
      ssl_mode                                      = "ALLOW_UNENCRYPTED_AND_ENCRYPTED"
      enable_private_path_for_google_cloud_services = true
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "03:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = var.retained_backups
      }
    }

    maintenance_window {
      day          = 7
      hour         = 4
      update_track = "stable"
    }

    insights_config {
      query_insights_enabled = true
    }

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }

    database_flags {
      name  = "log_min_error_statement"
      value = "error"
    }

    database_flags {
      name  = "log_min_messages"
      value = "warning"
    }

    database_flags {
      name  = "log_statement"
      value = "ddl"
    }
  }
}

resource "google_sql_database" "metadata" {
  name     = "metadata"
  instance = google_sql_database_instance.this.name
}

# Read anew each time, and kept nowhere: neither in a plan nor in the state.
ephemeral "google_secret_manager_secret_version" "password" {
  secret  = var.password_secret
  version = var.password_version
}

resource "google_sql_user" "pipeline" {
  name                = "pipeline"
  instance            = google_sql_database_instance.this.name
  password_wo         = ephemeral.google_secret_manager_secret_version.password.secret_data
  password_wo_version = var.password_version
  # It owns tables, which PostgreSQL would not let go with it.
  deletion_policy = "ABANDON"
}
