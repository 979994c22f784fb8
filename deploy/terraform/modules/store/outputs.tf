output "url" {
  description = "The store's address, for store.url of the configuration; without the password."
  value = format(
    "postgresql://%s@%s:5432/%s",
    google_sql_user.pipeline.name,
    google_sql_database_instance.this.private_ip_address,
    google_sql_database.metadata.name,
  )
}
