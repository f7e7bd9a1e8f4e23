"""The engine room: pixels and a question in, text out. It knows nothing of jobs, stores or queues."""
