# A server on a CPU, with the model in the package: docker build -f docker/cpu.Dockerfile -t kosmos2:cpu .
FROM python:3.12.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build

# Without a pip of its own: what goes on into the image below holds nothing that installs.
RUN python -m venv --without-pip /opt/kosmos2

# First and by itself: it is large and seldom another, and this index has it without CUDA.
RUN pip --python /opt/kosmos2/bin/python install "torch>=2.6,<2.14" --index-url https://download.pytorch.org/whl/cpu

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip --python /opt/kosmos2/bin/python install ".[serve]"


FROM python:3.12.11-slim-bookworm

RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin kosmos2
COPY --from=build /opt/kosmos2 /opt/kosmos2
ENV PATH=/opt/kosmos2/bin:$PATH PYTHONDONTWRITEBYTECODE=1

USER 10001
WORKDIR /home/kosmos2
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["kosmos2", "serve", "--host", "0.0.0.0", "--api-key-file", "/run/secrets/kosmos2-keys"]
CMD ["--model", "demo", "--offline"]
