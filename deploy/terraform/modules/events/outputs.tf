output "topic" {
  description = "Full name of the topic, to which anybody with the right may announce new data."
  value       = google_pubsub_topic.new_data.id
}
