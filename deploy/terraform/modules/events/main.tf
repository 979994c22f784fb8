# New data: an object that ends a span, or anybody's message, has the policy decide; so does the clock.

data "google_storage_project_service_account" "this" {}

resource "google_pubsub_topic" "new_data" {
  #checkov:skip=CKV_GCP_83:names of objects, no data; encrypted with Google's keys
  name                       = "${var.name}-new-data"
  message_retention_duration = "604800s"
}

resource "google_pubsub_topic_iam_member" "storage" {
  topic  = google_pubsub_topic.new_data.name
  role   = "roles/pubsub.publisher"
  member = data.google_storage_project_service_account.this.member
}

resource "google_storage_notification" "new_data" {
  bucket         = var.bucket
  topic          = google_pubsub_topic.new_data.id
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE"]

  depends_on = [google_pubsub_topic_iam_member.storage]
}

resource "google_workflows_workflow" "new_data" {
  name                = "${var.name}-new-data"
  region              = var.region
  description         = "Has the policy decide once a span of data is complete."
  service_account     = var.account_id
  call_log_level      = "LOG_ERRORS_ONLY"
  deletion_protection = false
  source_contents     = file("${path.module}/new-data.yaml")

  user_env_vars = {
    MARKER  = var.marker
    TRIGGER = var.trigger_id
  }
}

resource "google_eventarc_trigger" "new_data" {
  name            = "${var.name}-new-data"
  location        = var.region
  service_account = var.account_email

  matching_criteria {
    attribute = "type"
    value     = "google.cloud.pubsub.topic.v1.messagePublished"
  }

  transport {
    pubsub {
      topic = google_pubsub_topic.new_data.id
    }
  }

  destination {
    workflow = google_workflows_workflow.new_data.id
  }
}

# The clock: for what time alone makes a reason (a schedule, the model's age), and for a span that
# arrived while the policy was at work.
resource "google_cloud_scheduler_job" "policy" {
  count = var.cron == null ? 0 : 1

  name             = "${var.name}-policy"
  region           = var.region
  description      = "Has the policy decide."
  schedule         = var.cron
  time_zone        = var.time_zone
  attempt_deadline = "180s"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://cloudbuild.googleapis.com/v1/${var.trigger_id}:run"
    body        = base64encode("{}")
    headers     = { "Content-Type" = "application/json" }

    oauth_token {
      service_account_email = var.account_email
    }
  }
}
