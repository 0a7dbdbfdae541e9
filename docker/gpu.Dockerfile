# A server on an NVIDIA GPU, with the released weights: docker build -f docker/gpu.Dockerfile -t kosmos2:gpu .
FROM python:3.12.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build

# Without a pip of its own: what goes on into the image below holds nothing that installs.
RUN python -m venv --without-pip /opt/kosmos2

# First and by itself: it is large and seldom another. PyPI's has the CUDA libraries with it; the
# driver is the host's.
RUN pip --python /opt/kosmos2/bin/python install "torch>=2.6,<2.14"

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip --python /opt/kosmos2/bin/python install ".[serve]"


FROM python:3.12.11-slim-bookworm

# The folder is there beforehand so that a volume mounted on it belongs to who writes into it.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin kosmos2 \
    && install --directory --owner 10001 /models
COPY --from=build /opt/kosmos2 /opt/kosmos2
ENV PATH=/opt/kosmos2/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HF_HOME=/models \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

USER 10001
WORKDIR /home/kosmos2
VOLUME /models
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=900s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["kosmos2", "serve", "--host", "0.0.0.0", "--api-key-file", "/run/secrets/kosmos2-keys"]
CMD ["--model", "microsoft/kosmos-2-patch14-224", "--device", "cuda"]
