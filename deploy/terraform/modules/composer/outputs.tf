output "airflow" {
  description = "The address of Airflow's pages, and the folder of its DAGs."
  value = {
    pages = google_composer_environment.this.config[0].airflow_uri
    dags  = "gs://${google_storage_bucket.this.name}/dags"
  }
}
