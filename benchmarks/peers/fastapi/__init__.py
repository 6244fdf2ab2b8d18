"""A FastAPI application on uvicorn."""
