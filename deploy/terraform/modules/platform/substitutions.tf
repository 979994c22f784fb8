# What each cloudbuild file is told of this environment, under the names that it declares. What is
# left out has its default in the file.

locals {
  # What the files that release, or look at what is released, have in common.
  at_work = merge({
    _REGION          = var.region
    _CONFIG          = var.config
    _TARGET          = local.vertex ? "vertex" : "kfp"
    _SERVICE_ACCOUNT = module.identities.emails["build"]
    _LOGS            = module.storage.logs
    _WORKER_POOL     = "projects/${var.project}/locations/${var.region}/workerPools/${var.name}"
  }, local.vertex ? {} : { _KFP_HOST = var.kubeflow.host })

  substitutions = {
    "cloudbuild.yaml" = merge(local.at_work, var.composer == null ? {} : {
      _COMPOSER = module.composer[0].airflow.dags
      }, {
      _REPOSITORY    = "${module.registry.images}/${var.name}"
      _CACHE         = "${module.registry.cache}/${var.name}"
      _RUN_ON_DEPLOY = tostring(var.run_on_deploy)
    })
    "deploy/cloudbuild/nightly.yaml"  = local.at_work
    "deploy/cloudbuild/new-data.yaml" = local.at_work
    "deploy/cloudbuild/pull-request.yaml" = {
      _CONFIG          = var.config
      _TARGET          = local.vertex ? "vertex" : "kfp"
      _SERVICE_ACCOUNT = module.identities.emails["check"]
      _LOGS            = "${module.storage.logs}/${local.pull_requests}"
    }
  }
}
