# Who does what: an account for each job, with the rights that this job takes.

locals {
  accounts = merge(var.composer ? { composer = "Runs Airflow and the tasks of ${var.name}" } : {}, {
    build     = "Builds, releases and rolls back ${var.name}"
    check     = "Tests pull requests of ${var.name}, and may change nothing"
    pipeline  = "Runs the tasks of ${var.name}"
    serving   = "Serves the models of ${var.name}"
    scheduler = "Starts builds of ${var.name} by the clock and for new data"
  })

  # Rights on the whole project; those on one bucket, repository or secret are made beside that.
  roles = merge(var.composer ? { composer = toset(["roles/composer.worker"]) } : {}, {
    build = toset(concat(
      ["roles/logging.logWriter"],
      var.vertex ? ["roles/aiplatform.user"] : [],
      var.iap ? ["roles/iap.httpsResourceAccessor"] : [],
    ))
    check = toset(["roles/logging.logWriter"])
    pipeline = toset(concat(
      ["roles/logging.logWriter"],
      var.vertex ? ["roles/aiplatform.user"] : [],
    ))
    scheduler = toset([
      "roles/eventarc.eventReceiver",
      "roles/logging.logWriter",
      "roles/workflows.invoker",
    ])
  })

  grants = merge([
    for account, roles in local.roles : {
      for role in roles : "${account}/${role}" => { account = account, role = role }
    }
  ]...)
}

resource "google_service_account" "this" {
  for_each = local.accounts

  account_id   = "${var.name}-${each.key}"
  display_name = each.value
}

resource "google_project_iam_member" "this" {
  for_each = local.grants

  project = var.project
  role    = each.value.role
  member  = google_service_account.this[each.value.account].member
}

# The predefined role that starts a trigger also cancels, changes and deletes builds.
resource "google_project_iam_custom_role" "run_triggers" {
  role_id     = "${replace(var.name, "-", "_")}_run_triggers"
  title       = "Run the triggers of ${var.name}"
  permissions = ["cloudbuild.builds.create", "cloudbuild.builds.get"]
}

resource "google_project_iam_member" "run_triggers" {
  project = var.project
  role    = google_project_iam_custom_role.run_triggers.id
  member  = google_service_account.this["scheduler"].member
}

# A trigger runs as the build's account, and Vertex a pipeline's tasks as the pipeline's: whoever
# starts them has to be allowed to act as that one account.
resource "google_service_account_iam_member" "scheduler_acts_as_build" {
  service_account_id = google_service_account.this["build"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this["scheduler"].member
}

resource "google_service_account_iam_member" "build_acts_as_pipeline" {
  count = var.vertex ? 1 : 0

  service_account_id = google_service_account.this["pipeline"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this["build"].member
}

# The policy is a task, and starts runs of its own.
resource "google_service_account_iam_member" "pipeline_acts_as_itself" {
  count = var.vertex ? 1 : 0

  service_account_id = google_service_account.this["pipeline"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this["pipeline"].member
}

# GKE: pods with these accounts of the cluster are these accounts here.
resource "google_service_account_iam_member" "pods" {
  for_each = var.pods

  service_account_id = google_service_account.this[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${each.value}]"
}

# GitHub Actions: a token of the repository's main branch, and no other, is the build's account.
resource "google_iam_workload_identity_pool" "github" {
  workload_identity_pool_id = "${var.name}-github"
  display_name              = "GitHub Actions"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  #checkov:skip=CKV_GCP_125:the repository is named by its number, which the check does not know
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"

  # By number: the name of a repository that was deleted or renamed can be taken by others.
  attribute_condition = join(" && ", [
    "assertion.repository_id == '${var.github_repository_id}'",
    "assertion.ref == 'refs/heads/${var.github_branch}'",
  ])
  attribute_mapping = {
    "google.subject"          = "assertion.sub"
    "attribute.repository_id" = "assertion.repository_id"
    "attribute.ref"           = "assertion.ref"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "github_is_build" {
  service_account_id = google_service_account.this["build"].name
  role               = "roles/iam.workloadIdentityUser"
  member = join("/", [
    "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}",
    "attribute.repository_id/${var.github_repository_id}",
  ])
}
