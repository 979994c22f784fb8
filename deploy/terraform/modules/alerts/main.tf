# Who is told, of what: a failed build, a failed run, drift, a live model that grows old, the bill.

locals {
  tasks = join(" OR ", [
    "resource.type=\"k8s_container\"",
    "resource.type=\"ml_job\"",
    "resource.type=\"aiplatform.googleapis.com/PipelineJob\"",
  ])

  triggers = join(" OR ", [for id in var.trigger_ids : format("%q", basename(id))])

  # Policies on lines of the log rather than on a metric made from them: they fire at once, quote
  # the line, and need no metric that is there first.
  alerts = {
    failed-build = {
      title    = "A build failed"
      severity = "ERROR"
      filter   = <<-EOT
        resource.type="build"
        resource.labels.build_trigger_id=(${local.triggers})
        textPayload=~"^(ERROR|TIMEOUT)(:|$)"
      EOT
      help     = "Nothing that runs was changed by it. The build's page has the log of each step."
    }
    failed-run = {
      title    = "A run failed"
      severity = "ERROR"
      filter   = <<-EOT
        (${local.tasks})
        (textPayload=~"^Run \\S+ failed" OR jsonPayload.message=~"^Run \\S+ failed")
      EOT
      help     = "The line names the task and the reason; `python -m pipeline show newest` has more."
    }
    failed-policy = {
      title    = "The policy failed"
      severity = "ERROR"
      filter   = <<-EOT
        (${local.tasks})
        (textPayload=~"^([0-9:]{8} failed: |python -m pipeline continuous: )" OR jsonPayload.message=~"^([0-9:]{8} failed: |python -m pipeline continuous: )")
      EOT
      help     = "The line says of which decision, why, and whether it is tried again; `python -m pipeline monitor` has more."
    }
    drift = {
      title    = "The data moved"
      severity = "WARNING"
      filter   = <<-EOT
        (${local.tasks})
        (textPayload=~" moved since span [0-9]+: " OR jsonPayload.message=~" moved since span [0-9]+: ")
      EOT
      help     = "The line names the feature, by how much, and the limit. `[gate]` sets the limits."
    }
    no-fresh-model = {
      title    = "No fresh model"
      severity = "WARNING"
      filter   = <<-EOT
        resource.type="workflows.googleapis.com/Workflow"
        resource.labels.workflow_id="${google_workflows_workflow.freshness.name}"
        (textPayload:"No fresh model" OR severity>=ERROR)
      EOT
      help     = "Runs fail, or none beats the live model, or nobody starts any: `python -m pipeline runs`."
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.emails

  display_name = "${var.name}: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
}

resource "google_monitoring_alert_policy" "this" {
  for_each = local.alerts

  display_name          = "${var.name}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = each.value.title

    condition_matched_log {
      filter = each.value.filter
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.help
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "3600s"
    }
  }
}

# No condition of Cloud Monitoring looks back for more than a day or so: a workflow looks daily.
resource "google_workflows_workflow" "freshness" {
  name                = "${var.name}-freshness"
  region              = var.region
  description         = "Says in its log how old the newest model is that was pushed."
  service_account     = var.account_id
  call_log_level      = "LOG_ERRORS_ONLY"
  deletion_protection = false
  source_contents     = file("${path.module}/freshness.yaml")

  user_env_vars = {
    BUCKET = var.serving_bucket
    DAYS   = tostring(var.fresh_days)
  }
}

resource "google_cloud_scheduler_job" "freshness" {
  name        = "${var.name}-freshness"
  region      = var.region
  description = "Has it looked at how old the newest model is."
  schedule    = "0 8 * * *"
  time_zone   = var.time_zone

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${google_workflows_workflow.freshness.id}/executions"
    body        = base64encode("{}")
    headers     = { "Content-Type" = "application/json" }

    oauth_token {
      service_account_email = var.account_email
    }
  }
}

resource "google_billing_budget" "this" {
  count = var.budget == null ? 0 : 1

  billing_account = var.budget.billing_account
  display_name    = var.name

  budget_filter {
    projects = ["projects/${var.project_number}"]
  }

  amount {
    specified_amount {
      currency_code = var.budget.currency
      units         = tostring(var.budget.monthly)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]

    content {
      threshold_percent = threshold_rules.value
    }
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    # At most five, says Cloud Billing.
    monitoring_notification_channels = slice(
      [for channel in google_monitoring_notification_channel.email : channel.id],
      0, min(5, length(var.emails)),
    )
  }
}
