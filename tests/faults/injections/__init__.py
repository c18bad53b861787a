"""The faults, one module each; `run(world, count)` injects so many and tells what came of it."""
