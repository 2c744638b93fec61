//! Route registry: who serves which queues.
