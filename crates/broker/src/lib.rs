//! What clients see: send, pull, offsets, consumer groups, topics, admin requests.
