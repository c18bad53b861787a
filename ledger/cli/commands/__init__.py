"""The commands, a module each: options in, a call or a run, an answer out."""
