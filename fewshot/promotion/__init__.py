"""Champion and challenger: the gate's arithmetic, its episodes, and who is the champion."""
