// vite.config.mjs
export default {
  server: {
    proxy: {
      '/auth': {
        target: 'http://127.0.0.1:8080',
        rewrite: (path) => path.replace(/^\/auth/, ''),
      },
    },
  },
};
