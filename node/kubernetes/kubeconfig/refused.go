package kubeconfig

// Refused says why a kubeconfig is not accepted. It never repeats a secret.
type Refused struct {
	// Field is where the trouble is, as in "user.exec"; empty for the whole.
	Field string
	// Reason says what is wrong and the way out.
	Reason string
}

// Error tells field and reason.
func (r *Refused) Error() string {
	if r.Field == "" {
		return "kubeconfig refused: " + r.Reason
	}
	return "kubeconfig refused: " + r.Field + ": " + r.Reason
}

func refuse(field, reason string) error { return &Refused{Field: field, Reason: reason} }
