# An image that trains: docker build -f training.Dockerfile -t registry.example/tfrs-twotower .
FROM python:3.11-slim
RUN pip install --no-cache-dir tfrs-twotower
WORKDIR /work
ENTRYPOINT ["tfrs-twotower"]
CMD ["--help"]
