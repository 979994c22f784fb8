variable "name" {
  description = "What the range's name begins with."
  type        = string
}

variable "network" {
  description = "The network, projects/PROJECT/global/networks/NAME."
  type        = string
}
