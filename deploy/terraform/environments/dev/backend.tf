# Where the state is kept; the bucket is named by backend.hcl, see backend.hcl.example.
terraform {
  backend "gcs" {}
}
