variable "project" {
  description = "The project."
  type        = string
}

variable "name" {
  description = "Name of the repository of images; the cache's has -cache behind it."
  type        = string
}

variable "region" {
  description = "Region of the repositories."
  type        = string
}

variable "immutable_tags" {
  description = "Whether a tag stays with its image for good, which keeps the image for good."
  type        = bool
}

variable "keep_days" {
  description = "Days after which a tagged image goes, where tags are not immutable; 20 always stay."
  type        = number
}

variable "writers" {
  description = "Who pushes images and cached layers: IAM members by a name."
  type        = map(string)
}

variable "readers" {
  description = "Who pulls images: IAM members by a name."
  type        = map(string)
}
