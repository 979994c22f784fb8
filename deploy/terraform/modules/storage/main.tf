# The buckets: data that arrives, the pipeline's root, the models that are served, logs.

locals {
  buckets = {
    data    = "${var.prefix}-data"
    root    = "${var.prefix}-root"
    serving = "${var.prefix}-serving"
  }

  log_objects = "projects/_/buckets/${google_storage_bucket.logs.name}/objects"
}

resource "google_storage_bucket" "this" {
  for_each = local.buckets

  name                        = each.value
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = true
  }

  # Objects themselves never age: what may go is known to `python -m pipeline gc`.
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = var.keep_overwritten_days
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  logging {
    log_bucket        = google_storage_bucket.logs.name
    log_object_prefix = "access/${each.key}"
  }
}

resource "google_storage_bucket" "logs" {
  #checkov:skip=CKV_GCP_62:a log of the access to the logs would log itself
  name                        = "${var.prefix}-logs"
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
      age = var.keep_logs_days
    }
    action {
      type = "Delete"
    }
  }

  # With versions an age only archives: this removes.
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 1
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }
}

# Google's group that writes the logs of access.
resource "google_storage_bucket_iam_member" "access_logs" {
  bucket = google_storage_bucket.logs.name
  role   = "roles/storage.objectCreator"
  member = "group:cloud-storage-analytics@google.com"
}

resource "google_storage_bucket_iam_member" "data_readers" {
  for_each = var.data_readers

  bucket = google_storage_bucket.this["data"].name
  role   = "roles/storage.objectViewer"
  member = each.value
}

resource "google_storage_bucket_iam_member" "root_writers" {
  for_each = var.root_writers

  bucket = google_storage_bucket.this["root"].name
  role   = "roles/storage.objectUser"
  member = each.value
}

resource "google_storage_bucket_iam_member" "serving_writers" {
  for_each = var.root_writers

  bucket = google_storage_bucket.this["serving"].name
  role   = "roles/storage.objectUser"
  member = each.value
}

resource "google_storage_bucket_iam_member" "serving_readers" {
  for_each = var.serving_readers

  bucket = google_storage_bucket.this["serving"].name
  role   = "roles/storage.objectViewer"
  member = each.value
}

resource "google_storage_bucket_iam_member" "log_writers" {
  for_each = var.log_writers

  bucket = google_storage_bucket.logs.name
  role   = "roles/storage.objectUser"
  member = each.value.member

  # Whoever proposes a change has code run, which may not touch the logs of others.
  dynamic "condition" {
    for_each = each.value.folder[*]

    content {
      title      = "Below ${condition.value}"
      expression = "resource.name.startsWith('${local.log_objects}/${condition.value}/')"
    }
  }
}

# Cloud Build looks at the bucket itself before it writes a log or an artifact there.
resource "google_storage_bucket_iam_member" "log_bucket_readers" {
  for_each = var.log_writers

  bucket = google_storage_bucket.logs.name
  role   = "roles/storage.legacyBucketReader"
  member = each.value.member
}
