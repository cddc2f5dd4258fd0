# An image that serves the models in saved_models/: docker build -f serving.Dockerfile -t registry.example/shop .
FROM python:3.11-slim
RUN pip install --no-cache-dir 'tfrs-twotower[server]' && useradd --create-home server
COPY saved_models /models
USER server
EXPOSE 8500 8501
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/readyz')"]
ENTRYPOINT ["tfrs-twotower", "serve", "--host", "0.0.0.0"]
CMD ["/models/shop"]
