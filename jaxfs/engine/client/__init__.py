"""The front's side of an engine: schedules nothing, sends runs, survives the worker's death."""
