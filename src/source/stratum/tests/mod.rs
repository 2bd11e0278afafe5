//! A scripted pool
