variable "project" {
  description = "The project."
  type        = string
}

variable "name" {
  description = "What the accounts' names begin with."
  type        = string
}

variable "vertex" {
  description = "Whether runs are Vertex AI's, and not those of a Kubeflow."
  type        = bool
}

variable "composer" {
  description = "Whether there is a Composer environment."
  type        = bool
}

variable "iap" {
  description = "Whether Kubeflow is behind the Identity-Aware Proxy."
  type        = bool
}

variable "pods" {
  description = "For accounts that pods have on GKE: NAMESPACE/ACCOUNT in the cluster."
  type        = map(string)

  validation {
    condition     = length(setsubtract(keys(var.pods), ["pipeline", "serving"])) == 0
    error_message = "Only the accounts pipeline and serving are for pods."
  }
}

variable "github_repository_id" {
  description = "Number of the repository on GitHub."
  type        = string
}

variable "github_branch" {
  description = "The branch whose workflows may deploy."
  type        = string
}
