import "koala-diffusion/web/worker";
