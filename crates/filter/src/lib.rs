//! Deciding which messages a subscription wants.
