"""What all workers share: grants, orders, releases, quotas, spent proofs; SQLite or PostgreSQL."""
