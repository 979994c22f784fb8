output "trigger_ids" {
  description = "Full names of the triggers, projects/PROJECT/locations/REGION/triggers/ID."
  value = merge(
    { for name, trigger in google_cloudbuild_trigger.pushed : name => trigger.id },
    { for name, trigger in google_cloudbuild_trigger.called : name => trigger.id },
  )
}
