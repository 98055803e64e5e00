/** The pipeline's worker, as a file that the bundler knows. */

import "koala-diffusion/web/worker";
