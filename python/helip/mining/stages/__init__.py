"""Mining by clusters in stages of idempotent units, which any process or machine may run."""
