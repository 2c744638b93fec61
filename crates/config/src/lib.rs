//! Configuration keys of broker and name server: kinds, defaults, sources, validated sections.
