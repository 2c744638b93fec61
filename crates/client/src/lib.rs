//! Native client: routes, producer, consumers, admin calls over the remoting protocol.
