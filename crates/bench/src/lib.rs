//! Load generator over the remoting protocol, and the null broker that marks the ceiling.
