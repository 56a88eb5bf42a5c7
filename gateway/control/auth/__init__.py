"""Who asks, and what he may: users, tokens, tenants, sessions, OIDC and rate limits."""
