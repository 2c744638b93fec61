//! Sockets of the remoting protocol: server, connection, caller, TLS, limits.
