package clouds

import "context"

func (w *worker) keepSweeping(ctx context.Context) { <-ctx.Done() }
