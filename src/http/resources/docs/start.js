
const base = new URL('.', location.href).pathname.replace(/\/$/, '');
const ui = SwaggerUIBundle({
  url: 'openapi.yaml',
  dom_id: '#ui',
  // Without it, Swagger UI sends the description of a public host to validator.swagger.io.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // A proxy may serve Doorward below a prefix, which the description does not know.
  requestInterceptor: (request) => {
    if (request.loadSpec || !base) return request;
    const url = new URL(request.url, location.href);
    request.url = url.origin + base + url.pathname + url.search;
    return request;
  },
  // A login or a refresh fills the bearer for the next calls.
  responseInterceptor: (response) => {
    const token = response.body?.access_token ?? response.obj?.access_token;
    if (token) ui.preauthorizeApiKey('accessToken', token);
    return response;
  },
});
