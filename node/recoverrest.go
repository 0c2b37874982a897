package node

// rest puts what a recovery means for the state into it, as commands of a session in
// this term, and returns the index that the state then is of.
func (s *stopped) rest(term uint64, r Recovery) (index uint64, err error) {
	return s.found.LastIndex, nil
}
