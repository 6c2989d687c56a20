import eslint from 'typescript-eslint';

export default eslint.config(
  { ignores: ['dist', 'node_modules'] },
  { files: ['src/**/*.ts'], extends: [eslint.configs.strict, eslint.configs.stylistic] },
  {
    files: ['src/**/*.ts'],
    rules: {
      // Answers are checked where they arrive; everything else is typed.
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-empty-function': 'off',
      eqeqeq: 'error',
      'max-lines': ['error', 400],
      'max-lines-per-function': ['error', { max: 220, skipComments: true }],
      'max-depth': ['error', 4],
      'no-console': 'error',
    },
  },
  {
    files: ['**/*.mjs'],
    extends: [eslint.configs.base],
    rules: { 'no-unused-vars': 'error', eqeqeq: 'error', 'max-lines': ['error', 400] },
  },
);
